/**
 * Owns which versions of the Butane specification there are, by variant, and the version of Ignition's that each stands
 * for: from Butane's own table, stable ones only. A new one is a line here. Data only.
 */

export const IGNITION_VERSIONS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  fcos: {
    "1.0.0": "3.0.0",
    "1.1.0": "3.1.0",
    "1.2.0": "3.2.0",
    "1.3.0": "3.2.0",
    "1.4.0": "3.3.0",
    "1.5.0": "3.4.0",
    "1.6.0": "3.5.0"
  },
  flatcar: { "1.0.0": "3.3.0", "1.1.0": "3.4.0" },
  openshift: {
    "4.8.0": "3.2.0",
    "4.9.0": "3.2.0",
    "4.10.0": "3.2.0",
    "4.11.0": "3.2.0",
    "4.12.0": "3.2.0",
    "4.13.0": "3.2.0",
    "4.14.0": "3.4.0",
    "4.15.0": "3.4.0",
    "4.16.0": "3.4.0",
    "4.17.0": "3.4.0",
    "4.18.0": "3.4.0",
    "4.19.0": "3.5.0",
    "4.20.0": "3.5.0"
  },
  r4e: { "1.0.0": "3.3.0", "1.1.0": "3.4.0" },
  fiot: { "1.0.0": "3.4.0" }
}
