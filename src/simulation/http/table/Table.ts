/**
 * Owns the Table object that `kubectl get` asks for, and objects reduced to their metadata. Does not own columns
 * (Columns.ts) nor when a client wants a Table (Reply.ts).
 */
import type { Json, JsonObject, StoredObject } from "../../apiserver/Json.ts"
import type { Column } from "./Columns.ts"

/** How much of each object goes with its row: `includeObject`. */
export type Included = "None" | "Metadata" | "Object"

const META_VERSION = "meta.k8s.io/v1"

export const partial = (object: StoredObject): JsonObject => ({
  kind: "PartialObjectMetadata",
  apiVersion: META_VERSION,
  metadata: object.metadata
})

export const partialList = (items: ReadonlyArray<StoredObject>, metadata: JsonObject): JsonObject => ({
  kind: "PartialObjectMetadataList",
  apiVersion: META_VERSION,
  metadata,
  items: items.map(partial)
})

const included = (object: StoredObject, include: Included): Json =>
  include === "None" ? null : include === "Object" ? object : partial(object)

const definitionOf = ({ cell: _cell, format = "", ...definition }: Column): JsonObject => ({ ...definition, format })

/** `headers` false: a later event of a watch, whose reader knows the columns. */
export const table = (
  columns: ReadonlyArray<Column>,
  objects: ReadonlyArray<StoredObject>,
  metadata: JsonObject,
  options: { readonly include: Included; readonly headers: boolean; readonly nowMillis: number }
): JsonObject => ({
  kind: "Table",
  apiVersion: META_VERSION,
  metadata,
  columnDefinitions: options.headers ? columns.map(definitionOf) : [],
  rows: objects.map((object) => ({
    cells: columns.map((column) => column.cell(object, options.nowMillis)),
    object: included(object, options.include)
  }))
})
