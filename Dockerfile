# Owns the image that manifests/ install: Node and the provider's sources, which it runs as they are; nobody's but root's to
# write, and run by a user without rights. Build: docker build -t machinist:0.1.0 .
FROM node:24-bookworm-slim AS packages
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# The base image has Node; the one in the optional packages is for machines that don't.
RUN npm ci --omit=dev --omit=optional && npm cache clean --force

FROM node:24-bookworm-slim
WORKDIR /app
ENV NODE_ENV=production
COPY --from=packages /app/node_modules ./node_modules
COPY package.json LICENSE ./
COPY src ./src
USER 65532:65532
ENTRYPOINT ["node", "/app/src/main.ts"]
CMD ["controller", "--leader-elect"]
