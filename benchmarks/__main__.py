"""`python -m benchmarks`: every benchmark in turn; each prints a table and leaves a JSON file in results/."""

from benchmarks import noise_overhead

if __name__ == "__main__":
    noise_overhead.main(["--model", "tiny"])
    noise_overhead.main(["--model", "r50", "--pairs", "5", "--types", "gaussian"])
