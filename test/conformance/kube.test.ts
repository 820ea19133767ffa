/**
 * The in-memory API server keeps the promises of the Kubernetes port.
 */
import * as Effect from "effect/Effect"
import { make } from "../../src/simulation/SimulatedApiServer.ts"
import { kubeConformance, kubeGarbageCollection } from "./kube.ts"

const makeClient = Effect.map(make(), (server) => server.kubeClient)

kubeConformance("in memory", makeClient)
kubeGarbageCollection("in memory", makeClient)
