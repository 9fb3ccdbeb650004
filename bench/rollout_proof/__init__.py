"""Rollouts on simulated traffic: this controller beside rules of others. See bench/rollout.py."""
