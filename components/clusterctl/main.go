// Command clusterctl is upstream's client of management clusters, which tests call as a judge.
package main

import "sigs.k8s.io/cluster-api/cmd/clusterctl/cmd"

func main() {
	cmd.Execute()
}
