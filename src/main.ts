#!/usr/bin/env node
/**
 * Owns the entry of the command line: wires the subcommands (one file each in cli/) to Node. Nothing else lives here.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Cause from "effect/Cause"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Runtime from "effect/Runtime"
import manifest from "../package.json" with { type: "json" }
import { controller } from "./cli/controller.ts"
import { crds } from "./cli/crds.ts"
import { demo } from "./cli/demo.ts"
import { render } from "./cli/render.ts"
import { simulate } from "./cli/simulate.ts"
import { up } from "./cli/up.ts"

const machinist = Command.make("machinist").pipe(
  Command.withDescription("Cluster API provider that brings existing hosts, reachable by SSH, into k0s clusters"),
  Command.withSubcommands([controller, crds, demo, render, simulate, up])
)

/** SIGTERM and Ctrl-C are how a controller is asked to stop: a stop that was asked for is no failure. */
const teardown: Runtime.Teardown = (exit, onExit) =>
  Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause) ? onExit(0) : Runtime.defaultTeardown(exit, onExit)

/** Whoever closes the terminal, or loses the connection to it, stops what runs there; nobody reads what is said then. */
process.once("SIGHUP", () => {
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => undefined)
  process.kill(process.pid, "SIGTERM")
})

Command.run(machinist, { version: manifest.version }).pipe(
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain({ teardown })
)
