package swarmsync_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	sourceName   = regexp.MustCompile("`([a-z_/]+\\.go)`")
	testName     = regexp.MustCompile("`([a-z]+)\\.((?:Test|Fuzz)\\w+)`")
	testFunction = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
)

func TestOriginTableNamesWhatExists(t *testing.T) {
	tests := map[string]bool{}
	for name, dir := range map[string]string{"protocol": "protocol", "httpsync": "protocol/httpsync", "shuffle": "shuffle"} {
		files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			for _, match := range testFunction.FindAllStringSubmatch(readText(t, file), -1) {
				tests[name+"."+match[1]] = true
			}
		}
	}
	rows := 0
	for line := range strings.Lines(readText(t, "docs/origin.md")) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		rows++
		source, proofs := sourceName.FindStringSubmatch(line), testName.FindAllStringSubmatch(line, -1)
		if source == nil || len(proofs) == 0 {
			t.Errorf("this row has no code or no test: %s", line)
			continue
		}
		if _, err := os.Stat(source[1]); err != nil {
			t.Error(err)
		}
		for _, proof := range proofs {
			if name := proof[1] + "." + proof[2]; !tests[name] {
				t.Errorf("there is no test %s", name)
			}
		}
	}
	if rows == 0 {
		t.Error("the table is gone")
	}
}
