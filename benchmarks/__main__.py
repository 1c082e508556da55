"""`python -m benchmarks`: every benchmark in turn; each prints a table and leaves a JSON file in results/."""

from benchmarks import chaos, coverage, grid, iteration, noise_overhead, scoring, speed

if __name__ == "__main__":
    speed.main([])
    chaos.main([])
    noise_overhead.main(["--model", "tiny", "--pairs", "100"])
    noise_overhead.main(["--model", "r50", "--pairs", "12", "--types", "gaussian"])
    coverage.main([])
    iteration.main([])
    grid.main([])
    scoring.main([])
