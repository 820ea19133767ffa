# Owns the development shell: `nix develop`. Node comes from here instead of from package-lock.json where Nix is at home
# (the lock's binary wants a glibc in the usual place, which NixOS has not).
{
  description = "Machinist: a Cluster API provider that brings existing hosts, reachable by SSH, into k0s clusters";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "x86_64-darwin"
        "aarch64-darwin"
      ];
      forAll = make: nixpkgs.lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
    in
    {
      devShells = forAll (pkgs: {
        default = pkgs.mkShell {
          packages = [
            pkgs.nodejs_24
            pkgs.openssh
            pkgs.kubectl
            pkgs.git
          ]
          # The live suites run a real kube-apiserver (built with Go), etcd and sshd; on Linux only.
          ++ pkgs.lib.optionals pkgs.stdenv.isLinux [
            pkgs.go
            pkgs.etcd
            pkgs.iproute2
            pkgs.util-linux
          ];
        };
      });

      formatter = forAll (pkgs: pkgs.nixfmt-rfc-style);
    };
}
