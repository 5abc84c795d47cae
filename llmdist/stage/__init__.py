"""llmdist.stage"""
