//! The capacity planner: fleet and demand to Blueprint, lint, explain. Pure.
