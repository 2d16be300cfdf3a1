"""Many runs: the plan, the Hydra sweeper that owns it, and the launchers that carry it out."""
