"""How well and how late: word error rates, latency, speed, beside other recognizers."""
