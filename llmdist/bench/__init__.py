"""llmdist.bench"""
