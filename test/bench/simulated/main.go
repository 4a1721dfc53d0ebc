// Command simulated puts the results of `make sim` into docs/performance.md.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/swarmsync/swarmsync/internal/swarmtest"
	"github.com/swarmsync/swarmsync/test/bench/internal/report"
)

func main() {
	results := flag.String("results", "bench/results/sim.json", "the `FILE` that the simulations wrote")
	docs := flag.String("docs", "docs/performance.md", "the `FILE` whose table and plot are brought up to date")
	flag.Parse()
	r, err := swarmtest.ReadResults(*results)
	if err == nil {
		err = report.UpdateSimulation(*docs, r)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "simulated:", err)
		os.Exit(1)
	}
}
