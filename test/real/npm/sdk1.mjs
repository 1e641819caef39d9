// @modelcontextprotocol/sdk 1.x: speaks the revisions up to 2025-11-25 only.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { CreateMessageRequestSchema, ElicitRequestSchema, ListRootsRequestSchema } from '@modelcontextprotocol/sdk/types.js';
import { agree, asks, capabilities, info, job, run } from './steps.mjs';

let transport;

await run(job(), {
  connect: async (job, onerror) => {
    const { url, command, args, env } = job;
    const client = new Client(info, { capabilities: capabilities(job) });
    client.onerror = onerror;
    if (asks(job)) {
      client.setRequestHandler(ElicitRequestSchema, (request) => agree.elicit(request.params));
      client.setRequestHandler(CreateMessageRequestSchema, (request) => agree.sample(request.params));
      client.setRequestHandler(ListRootsRequestSchema, agree.roots);
    }
    const HTTPTransport = url?.endsWith('/sse') ? SSEClientTransport : StreamableHTTPClientTransport;
    transport = url ? new HTTPTransport(new URL(url)) : new StdioClientTransport({ command, args, env, stderr: 'ignore' });
    await client.connect(transport);
    return client;
  },
  call: (client, params, options) => client.callTool(params, undefined, options),
  about: (client) => ({
    version: transport.protocolVersion ?? transport._protocolVersion,
    capabilities: client.getServerCapabilities(),
    info: client.getServerVersion(),
  }),
});
