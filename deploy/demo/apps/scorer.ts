// The shop's model server: speaks gRPC and nothing else, as most model servers do.

import { create } from '@bufbuild/protobuf';
import { type ServerUnaryCall, type sendUnaryData, status } from '@grpc/grpc-js';
import {
  type ScoreRequest,
  type ScoreResponse,
  ScoreResponseSchema,
  ScorerService,
} from '../../../proto/gen/weft/demo/v1/scorer_pb.js';
import { scoreRisk } from './risk.ts';
import model from './risk-model.json' with { type: 'json' };
import { serveGrpc } from './serve-grpc.ts';

serveGrpc('scorer', ScorerService, {
  score(call: ServerUnaryCall<ScoreRequest, ScoreResponse>, answer: sendUnaryData<ScoreResponse>) {
    const { amount, quantity, accountAgeDays, ordersLastHour } = call.request;
    if (!Number.isFinite(amount) || amount < 0) {
      return answer({ code: status.INVALID_ARGUMENT, details: 'amount: a number from 0' });
    }
    const score = scoreRisk(model, [amount, quantity, accountAgeDays, ordersLastHour]);
    return answer(null, create(ScoreResponseSchema, { ...score, modelVersion: model.version }));
  },
});
