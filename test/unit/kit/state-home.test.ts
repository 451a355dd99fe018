// Where state is kept when nobody says where (XDG Base Directory Specification).
import { expect, test } from 'vitest';
import { defaultStateDir } from '../../../proto/kit/state-home.ts';

const HOME = () => '/somebody';

test.each([
  ['the variable', { XDG_STATE_HOME: '/state' }, '/state/weft/control-plane'],
  ['the home without it', {}, '/somebody/.local/state/weft/control-plane'],
  [
    'the home where it is relative, which the specification has ignored',
    { XDG_STATE_HOME: 'state' },
    '/somebody/.local/state/weft/control-plane',
  ],
])('%s', (_what, environment, directory) => {
  expect(defaultStateDir('control-plane', environment, HOME)).toBe(directory);
});

test('nobody has no home', () => {
  const none = () => {
    throw new Error('no such user');
  };
  expect(defaultStateDir('control-plane', {}, none)).toBe('');
  expect(defaultStateDir('control-plane', {}, () => '')).toBe('');
});
