"""A microphone: its blocks, checks, recording and replay, and the screen."""
