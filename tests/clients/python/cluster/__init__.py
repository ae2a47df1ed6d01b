"""Cluster clients at work on node ports, while slots move and replicas take over.
The cluster comes from the environment: see tests/clients/topology.
"""
