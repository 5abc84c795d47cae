"""llmdist.executor"""
