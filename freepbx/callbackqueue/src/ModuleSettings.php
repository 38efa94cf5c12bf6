<?php
// SPDX-License-Identifier: MIT

namespace FreePBX\modules\Callbackqueue;

/** The settings of the module, for all queues. */
class ModuleSettings
{
	public const FIELDS = ['directory', 'service', 'when_down', 'outbound', 'console', 'token'];
	/** A channel as Dial() takes it, with {number} for the client's number. */
	public const OUTBOUND_OR_EMPTY = '~^(?:|[A-Za-z0-9]+/[^\s,;"\'\\\\]*\{number\}[^\s,;"\'\\\\]*)$~D';

	/** Where the service reads the queues: "include: queues:" of its settings. */
	public string $directory = '/etc/callback-queue/queues.d';
	/** The FastAGI address of the service. */
	public string $service = '127.0.0.1:4574';
	/** What happens to a caller if the service does not answer: return or keep. */
	public string $whenDown = 'return';
	public string $outbound = 'Local/{number}@from-internal/n';
	/** The address of the console; empty: there is none. */
	public string $console = 'http://127.0.0.1:8573';
	/** A token for the console's API. */
	public string $token = '';

	public static function outboundProblem(): string
	{
		return _('the channel must be such as Local/{number}@from-internal/n');
	}

	/**
	 * Reads submitted fields.
	 *
	 * @throws Unusable with everything that is wrong
	 */
	public static function fromForm(array $given): self
	{
		$problems = [];
		$wants = function (string $field, string $pattern, string $problem) use ($given, &$problems): string {
			$value = (string) ($given[$field] ?? '');
			if (!preg_match($pattern, $value)) {
				$problems[] = $problem . ($field === 'token' ? '' : " (got \"$value\")");
			}
			return $value;
		};
		$it = new self();
		$it->directory = rtrim($wants('directory', '~^/[\w./-]+$~D', _('the directory must be a full path')), '/');
		if (in_array('..', explode('/', $it->directory), true)) {
			$problems[] = _('the directory must not contain ..');
		}
		$it->service = $wants('service', '/^(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\]):[0-9]{1,5}$/D', _('the service must be an address and a port, such as 127.0.0.1:4574'));
		$it->whenDown = $wants('when_down', '/^(?:return|keep)$/D', _('"If the service is down" must be return or keep'));
		$it->outbound = $wants('outbound', self::OUTBOUND_OR_EMPTY, self::outboundProblem());
		if ($it->outbound === '') {
			$problems[] = self::outboundProblem();
		}
		$it->console = rtrim($wants('console', '~^(?:|https?://[A-Za-z0-9.:\[\]-]+(?:/[\w./-]*)?)$~D', _('the console must be an address such as http://127.0.0.1:8573')), '/');
		$it->token = $wants('token', '/^[\x21-\x7e]{0,200}$/D', _('the token must be as `callback-queue web token add` shows it'));
		if ($problems) {
			throw new Unusable($problems);
		}
		return $it;
	}

	/** Reads stored settings; if they are unusable, all have their default. */
	public static function fromStored(array $stored): self
	{
		$given = array_merge((new self())->toArray(), array_intersect_key(array_filter($stored, 'is_scalar'), array_flip(self::FIELDS)));
		try {
			return self::fromForm(array_map('strval', $given));
		} catch (Unusable $unusable) {
			return new self();
		}
	}

	/** @return array<string, string> as fromForm() takes it and as it is stored */
	public function toArray(): array
	{
		return [
			'directory' => $this->directory,
			'service' => $this->service,
			'when_down' => $this->whenDown,
			'outbound' => $this->outbound,
			'console' => $this->console,
			'token' => $this->token,
		];
	}
}
