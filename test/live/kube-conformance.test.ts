/**
 * The promises of the Kubernetes port, held by the live client against a real kube-apiserver: the same suite that the
 * in-memory server passes. Where the two differ, this one is right.
 */
import * as Effect from "effect/Effect"
import { makeKubeClient } from "../../src/kube/LiveKubeClient.ts"
import { kubeConformance } from "../conformance/kube.ts"
import { available, start } from "./apiserver/ApiServer.ts"

const makeClient = Effect.flatMap(start, (server) => makeKubeClient({ _tag: "Files", path: server.kubeconfigPath }))

kubeConformance("kube-apiserver", makeClient, { skip: !available })
