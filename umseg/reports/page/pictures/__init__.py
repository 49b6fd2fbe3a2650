"""Pictures of cases, and volumes for the viewer."""
