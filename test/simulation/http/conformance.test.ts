/**
 * The Kubernetes port's promises hold through the HTTPS front too, by the live client: what a real API server passes.
 */
import * as Effect from "effect/Effect"
import { makeKubeClient } from "../../../src/kube/LiveKubeClient.ts"
import { kubeConformance, kubeGarbageCollection } from "../../conformance/kube.ts"
import { fronted } from "./Fronted.ts"

const clientOf = (controllers?: false) =>
  Effect.flatMap(fronted(controllers === false ? { controllers } : {}), ({ kubeconfigPath }) =>
    makeKubeClient({ _tag: "Files", path: kubeconfigPath })
  )

// A finalizer that a controller is about to remove may be gone before the next request: as on a bare kube-apiserver.
kubeConformance("simulated, over HTTPS", clientOf(false))
kubeGarbageCollection("simulated, over HTTPS", clientOf())
