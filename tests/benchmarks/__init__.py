"""What the library costs, as ratios to a floor that is written by hand and checks nothing."""
