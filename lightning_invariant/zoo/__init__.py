"""The networks and data modules behind the recipes in hub_configs."""
