"""Where runs take place: what launchers share, and the pool, Ray and Slurm."""
