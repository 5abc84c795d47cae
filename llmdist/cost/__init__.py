"""llmdist.cost"""
