"""llmdist.model"""
