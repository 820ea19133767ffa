/**
 * Owns the kind the front's tests are about: a CustomResourceDefinition with every kind of list and map, columns, status
 * and scale.
 */
import type { JsonObject } from "../../../src/simulation/apiserver/Json.ts"

const text: JsonObject = { type: "string" }

export const widgetSchema: JsonObject = {
  type: "object",
  description: "Widget is a thing.",
  properties: {
    spec: {
      type: "object",
      description: "What it should be.",
      properties: {
        size: { type: "integer", minimum: 1, maximum: 10, default: 3, description: "How big." },
        replicas: { type: "integer" },
        mode: { type: "string", enum: ["fast", "safe"] },
        tags: { type: "object", additionalProperties: text },
        names: { type: "array", items: text, "x-kubernetes-list-type": "set" },
        parts: {
          type: "array",
          "x-kubernetes-list-type": "map",
          "x-kubernetes-list-map-keys": ["name"],
          items: {
            type: "object",
            required: ["name"],
            properties: { name: text, weight: { type: "number" }, note: text }
          }
        },
        plain: { type: "array", items: { type: "object", properties: { a: text } } },
        free: { type: "object", "x-kubernetes-preserve-unknown-fields": true }
      }
    },
    status: {
      type: "object",
      properties: {
        replicas: { type: "integer" },
        selector: text,
        conditions: {
          type: "array",
          "x-kubernetes-list-type": "map",
          "x-kubernetes-list-map-keys": ["type"],
          items: { type: "object", required: ["type", "status"], properties: { type: text, status: text } }
        }
      }
    }
  }
}

export const widgetDefinition = {
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: { name: "widgets.example.com" },
  spec: {
    group: "example.com",
    scope: "Namespaced",
    names: { plural: "widgets", singular: "widget", kind: "Widget", listKind: "WidgetList", shortNames: ["wd"] },
    versions: [
      {
        name: "v1",
        served: true,
        storage: true,
        subresources: {
          status: {},
          scale: {
            specReplicasPath: ".spec.replicas",
            statusReplicasPath: ".status.replicas",
            labelSelectorPath: ".status.selector"
          }
        },
        additionalPrinterColumns: [
          { name: "Size", type: "integer", jsonPath: ".spec.size", description: "How big." },
          { name: "Ready", type: "string", jsonPath: '.status.conditions[?(@.type=="Ready")].status' },
          { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" },
          { name: "Tags", type: "string", jsonPath: ".spec.tags", priority: 1 }
        ],
        schema: { openAPIV3Schema: widgetSchema }
      }
    ]
  }
}
