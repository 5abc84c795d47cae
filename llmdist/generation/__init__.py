"""llmdist.generation"""
