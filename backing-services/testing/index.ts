export { createTestCluster, type TestCluster } from './cluster.ts'
export * from './servers.ts'
