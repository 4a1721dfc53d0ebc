package main

import (
	"slices"
	"testing"
)

func TestPlainEnvironment(t *testing.T) {
	t.Setenv("SWARMSYNC_NETWORK", "elsewhere")
	t.Setenv("SWARMSYNCOTHER", "kept")
	got := plainEnvironment()
	if slices.Contains(got, "SWARMSYNC_NETWORK=elsewhere") {
		t.Error("a variable that sets a flag reaches the nodes")
	}
	if !slices.Contains(got, "SWARMSYNCOTHER=kept") {
		t.Error("another variable does not")
	}
}
