"""The tables behind the recipes in hub_configs, on real data: python -m benchmarks.paper."""
