#!/usr/bin/env node
/**
 * Owns the entry of the command line: wires the subcommands (one file each in cli/) to Node. Nothing else lives here.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import manifest from "../package.json" with { type: "json" }
import { crds } from "./cli/crds.ts"

const machinist = Command.make("machinist").pipe(
  Command.withDescription("Cluster API provider that brings existing hosts, reachable by SSH, into k0s clusters"),
  Command.withSubcommands([crds])
)

Command.run(machinist, { version: manifest.version }).pipe(Effect.provide(NodeServices.layer), NodeRuntime.runMain)
