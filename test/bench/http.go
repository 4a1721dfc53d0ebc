package main

import (
	"context"

	"github.com/swarmsync/swarmsync/test/bench/internal/report"
)

func overHTTP(context.Context, *bench, *report.Workload) error {
	return skip("httpsync is not built yet")
}
