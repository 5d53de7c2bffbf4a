//! Cluster, MachineDeployment, MachineSet and Machine controllers.
