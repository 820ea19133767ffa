/**
 * Owns the smallest program that waits for ever and needs nothing of its host (no libc, no shell): a real executable,
 * so that a copy named k0s looks in the process table as k0s does. Linux on x64 and arm64.
 */

/** Load address of the one segment; the code lies behind the ELF header (64 bytes) and its program header (56). */
const BASE = 0x400000n
const CODE_AT = 120

/** x64: `pause()` in a loop. */
const X64 = [0xb8, 0x22, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7]
/** arm64 has no pause: `ppoll(NULL, 0, NULL, NULL, 0)` in a loop. */
const ARM64 = [0xd2800000, 0xd2800001, 0xd2800002, 0xd2800003, 0xd2800004, 0xd2800928, 0xd4000001, 0x17fffff9]

const EM_X86_64 = 62
const EM_AARCH64 = 183

export const pauseProgram = (arch: string = process.arch): Uint8Array => {
  const code = arch === "arm64" ? ARM64.flatMap((word) => [0, 8, 16, 24].map((bits) => (word >>> bits) & 0xff)) : X64
  const file = new Uint8Array(CODE_AT + code.length)
  const view = new DataView(file.buffer)
  const size = BigInt(file.length)
  // e_ident: magic, 64 bit, little endian, version.
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1])
  view.setUint16(16, 2, true) // ET_EXEC
  view.setUint16(18, arch === "arm64" ? EM_AARCH64 : EM_X86_64, true)
  view.setUint32(20, 1, true)
  view.setBigUint64(24, BASE + BigInt(CODE_AT), true) // entry
  view.setBigUint64(32, 64n, true) // program headers
  view.setUint16(52, 64, true)
  view.setUint16(54, 56, true)
  view.setUint16(56, 1, true)
  view.setUint32(64, 1, true) // PT_LOAD
  view.setUint32(68, 5, true) // readable, executable
  view.setBigUint64(80, BASE, true)
  view.setBigUint64(88, BASE, true)
  view.setBigUint64(96, size, true)
  view.setBigUint64(104, size, true)
  view.setBigUint64(112, 0x1000n, true)
  file.set(code, CODE_AT)
  return file
}

/** As the argument of `printf`, in single quotes. */
export const printfEscaped = (bytes: Uint8Array): string =>
  [...bytes].map((byte) => `\\${byte.toString(8).padStart(3, "0")}`).join("")
