"""Copying steps from one model directory into another: what is sent, how, and what is listed."""
