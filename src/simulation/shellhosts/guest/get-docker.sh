#!/bin/sh
# Stands in for the installer at https://get.docker.com: docker is a stand-in that is there already (pretend).
. /usr/local/lib/machinist-test/common.sh
witness get-docker
echo "# Executing docker install script"
