"""From trajectories to student versions: scrub, curate, audit, train, evaluate, register."""
