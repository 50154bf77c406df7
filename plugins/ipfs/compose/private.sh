#!/bin/sh
# Run by the image before each start of the daemon: what a daemon of a private swarm may do, and where others reach it.
set -eu
ipfs bootstrap rm --all >/dev/null
ipfs config --json AutoConf.Enabled false
ipfs config Routing.Type none
ipfs config --json Routing.DelegatedRouters '[]'
ipfs config --json Ipns.DelegatedPublishers '[]'
ipfs config --json DNS.Resolvers '{}'
ipfs config --json Provide.Enabled false
ipfs config --json HTTPRetrieval.Enabled false
ipfs config --json Discovery.MDNS.Enabled false
ipfs config --json AutoTLS.Enabled false
ipfs config --json Version.SwarmCheckEnabled false
ipfs config --json Swarm.DisableNatPortMap true
ipfs config --json Swarm.RelayClient.Enabled false
ipfs config --json Addresses.Swarm '["/ip4/0.0.0.0/tcp/4001"]'
ipfs config --json Addresses.Announce "[\"/ip4/$HOST/tcp/4001\"]"
ipfs config --json Addresses.Gateway '[]'
