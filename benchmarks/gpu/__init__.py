"""One visit to a machine with a GPU: build, test, compare, time and tune; see docs/measure-your-gpu.md."""
