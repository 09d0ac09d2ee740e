"""What became of jobs: clusters are asked, the tracker is brought up to date."""
