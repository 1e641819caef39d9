// @modelcontextprotocol/client 2.x: speaks both eras; the job says which.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { agree, asks, capabilities, info, job, run } from './steps.mjs';

const modes = { legacy: 'legacy', auto: 'auto', modern: { pin: '2026-07-28' } };

await run(job(), {
  connect: async (job, onerror) => {
    const { url, command, args, env, era } = job;
    const client = new Client(info, { capabilities: capabilities(job), versionNegotiation: { mode: modes[era] } });
    client.onerror = onerror;
    if (asks(job)) {
      client.setRequestHandler('elicitation/create', (request) => agree.elicit(request.params));
      client.setRequestHandler('sampling/createMessage', (request) => agree.sample(request.params));
      client.setRequestHandler('roots/list', agree.roots);
    }
    await client.connect(url ? new StreamableHTTPClientTransport(new URL(url)) : new StdioClientTransport({ command, args, env, stderr: 'ignore' }));
    return client;
  },
  call: (client, params, options) => client.callTool(params, options),
  about: (client) => ({
    version: client.getNegotiatedProtocolVersion(),
    capabilities: client.getServerCapabilities(),
    info: client.getServerVersion(),
  }),
});
