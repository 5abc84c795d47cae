"""llmdist.planner"""
