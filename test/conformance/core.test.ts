/**
 * SimulatedCore does what CAPI's core does.
 */
import { inMemory } from "./core/InMemory.ts"
import { coreConformance } from "./core.ts"

coreConformance("in memory", inMemory)
