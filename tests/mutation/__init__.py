"""Changes to the core that its unit tests have to notice, and those that they need not."""
