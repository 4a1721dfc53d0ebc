package node_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		fetchAsChild()
		return
	}
	if os.Getenv(servingVariable) != "" {
		serveAsChild()
		return
	}
	goleak.VerifyTestMain(m,
		// The database library of the DHT ends this goroutine up to a second after a database was closed.
		goleak.IgnoreAnyFunction("github.com/syndtr/goleveldb/leveldb.(*DB).mpoolDrain"),
	)
}
