package discovery

import (
	"errors"
	"strings"
	"testing"
)

func TestAnnouncementThatNobodyKeepsSaysWhy(t *testing.T) {
	full, gone := errors.New("full"), errors.New("gone")
	tests := []struct {
		name  string
		errs  []error
		nodes int
		says  []string
	}{
		{"nobody to ask", nil, 0, []string{"there is no other node yet"}},
		{"all refuse", []error{full, gone}, 0, []string{"full", "gone"}},
		{"one refuses", []error{full, nil}, 1, nil},
	}
	for _, test := range tests {
		nodes, err := countStored(Key{1}, test.errs)
		if nodes != test.nodes || (err == nil) != (test.nodes > 0) {
			t.Errorf("%s: %d nodes, error %v; want %d", test.name, nodes, err, test.nodes)
		}
		for _, says := range test.says {
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: the error is %v, want %q in it", test.name, err, says)
			}
		}
		if err != nil && strings.Contains(err.Error(), "%!") {
			t.Errorf("%s: the error is %v", test.name, err)
		}
	}
}
