<?php
// SPDX-License-Identifier: MIT

/**
 * The module: what FreePBX calls, and what the module stores.
 *
 * The work itself is in src/, which knows nothing of FreePBX's objects except the
 * dialplan under construction.
 */

namespace FreePBX\modules;

use FreePBX\modules\Callbackqueue\Console;
use FreePBX\modules\Callbackqueue\Dialplan;
use FreePBX\modules\Callbackqueue\Prompts;
use FreePBX\modules\Callbackqueue\QueueSettings;
use FreePBX\modules\Callbackqueue\ServiceFile;
use FreePBX\modules\Callbackqueue\Unusable;

require_once __DIR__ . '/src/Unusable.php';
require_once __DIR__ . '/src/QueueSettings.php';
require_once __DIR__ . '/src/ModuleSettings.php';
require_once __DIR__ . '/src/Dialplan.php';
require_once __DIR__ . '/src/ServiceFile.php';
require_once __DIR__ . '/src/Prompts.php';
require_once __DIR__ . '/src/Console.php';

#[\AllowDynamicProperties]
class Callbackqueue extends \FreePBX_Helpers implements \BMO
{
	/** Group of the stored settings of queues, by the queue's number. */
	private const QUEUES = 'queues';
	/** Key of the stored settings of the module. */
	private const MODULE = 'settings';
	/** Fields of the queue's tab begin with this. */
	private const PREFIX = 'callbackqueue_';

	private $freepbx;
	/** What was wrong with the submitted fields, and the fields. */
	private array $refused = [];

	public function __construct($freepbx = null)
	{
		if ($freepbx === null) {
			throw new \Exception('Not given a FreePBX object');
		}
		$this->FreePBX = $freepbx;
		$this->freepbx = $freepbx;
	}

	// -- install and uninstall

	public function install()
	{
		if ($this->getConfig(self::MODULE) === false) {
			$this->setConfig(self::MODULE, (new Callbackqueue\ModuleSettings())->toArray());
		}
	}

	/** Removes what the module has written outside of FreePBX's database. */
	public function uninstall()
	{
		$settings = $this->moduleSettings();
		(new ServiceFile($settings->directory))->remove();
		$this->prompts()->remove();
		$notifications = $this->freepbx->Notifications;
		foreach (['SERVICE', 'DIALPLAN', 'BYHAND', 'PROMPTS', 'FORM'] as $id) {
			$notifications->delete('callbackqueue', $id);
		}
		$this->deleteAll();
	}

	// -- the settings

	public function moduleSettings(): Callbackqueue\ModuleSettings
	{
		$stored = $this->getConfig(self::MODULE);
		return Callbackqueue\ModuleSettings::fromStored(is_array($stored) ? $stored : []);
	}

	public function queueSettings(string $queue): QueueSettings
	{
		$stored = $this->getConfig($queue, self::QUEUES);
		return QueueSettings::fromStored(is_array($stored) ? $stored : []);
	}

	/**
	 * Returns the settings of the queues that have callbacks.
	 *
	 * Settings of a queue that does not exist are ignored and kept: a restore may bring
	 * the queue back.
	 *
	 * @return array<string, QueueSettings>
	 */
	public function queuesWithCallbacks(): array
	{
		$found = [];
		foreach ($this->queues() as $queue => $_name) {
			$settings = $this->queueSettings((string) $queue);
			if ($settings->enabled) {
				$found[(string) $queue] = $settings;
			}
		}
		return $found;
	}

	/** @return array<int|string, string> the names of all queues, by number */
	public function queues(): array
	{
		$names = [];
		foreach ($this->freepbx->Queues->listQueues(true) as $queue) {
			$names[(string) $queue[0]] = (string) $queue[1];
		}
		return $names;
	}

	// -- backup and restore

	/** @return array everything the module stores */
	public function dumpSettings(): array
	{
		$queues = [];
		foreach ($this->getAll(self::QUEUES) as $queue => $stored) {
			$queues[(string) $queue] = QueueSettings::fromStored((array) $stored)->toArray();
		}
		return ['module' => $this->moduleSettings()->toArray(), 'queues' => $queues];
	}

	/** Replaces everything the module stores. */
	public function loadSettings(array $dump): void
	{
		$module = Callbackqueue\ModuleSettings::fromStored((array) ($dump['module'] ?? []));
		$queues = [];
		foreach ((array) ($dump['queues'] ?? []) as $queue => $stored) {
			$queues[(string) $queue] = QueueSettings::fromStored((array) $stored)->toArray();
		}
		$this->delById(self::QUEUES);
		$this->setConfig(self::MODULE, $module->toArray());
		foreach ($queues as $queue => $stored) {
			$this->setConfig((string) $queue, $stored, self::QUEUES);
		}
	}

	// -- the tab in the page of a queue

	public static function myConfigPageInits()
	{
		return ['queues'];
	}

	public function doConfigPageInit($page)
	{
		$action = $_REQUEST['action'] ?? '';
		if ($page === 'queues') {
			$this->saveTab((string) ($_REQUEST['account'] ?? ''), (string) $action);
		} elseif ($page === 'callbackqueue' && $action === 'save') {
			$this->savePage();
		}
	}

	private function saveTab(string $queue, string $action): void
	{
		if ($queue === '') {
			return;
		}
		if ($action === 'delete') {
			$this->setConfig($queue, false, self::QUEUES);
			return;
		}
		$isSubmitted = isset($_REQUEST[self::PREFIX . 'enabled']);
		if (!in_array($action, ['add', 'edit'], true) || !$isSubmitted) {
			return;
		}
		$given = [];
		foreach (QueueSettings::FIELDS as $field) {
			$given[$field] = trim((string) ($_REQUEST[self::PREFIX . $field] ?? ''));
		}
		try {
			$settings = QueueSettings::fromForm($given);
		} catch (Unusable $unusable) {
			$this->refuse($given, $unusable, "queue $queue");
			return;
		}
		$this->setConfig($queue, $settings->toArray(), self::QUEUES);
		$this->accepted();
	}

	private function refuse(array $given, Unusable $unusable, string $what): void
	{
		$this->refused = ['given' => $given, 'problems' => $unusable->problems];
		$this->freepbx->Notifications->add_error(
			'callbackqueue',
			'FORM',
			sprintf(_('Queue Callback: the settings of %s were not saved'), self::html([$what])),
			self::html($unusable->problems),
			'',
			true,
			true
		);
	}

	private function accepted(): void
	{
		$this->freepbx->Notifications->delete('callbackqueue', 'FORM');
		needreload();
	}

	/** Called by the page of a queue (hooks in module.xml). */
	public function queueTab()
	{
		$queue = (string) ($_REQUEST['extdisplay'] ?? '');
		$given = $this->refused['given'] ?? null;
		return [[
			'title' => _('Callback'),
			'rawname' => 'callbackqueue',
			'content' => $this->view('queue', [
				'prefix' => self::PREFIX,
				'settings' => $given ?? $this->queueSettings($queue)->toForm(),
				'problems' => $this->refused['problems'] ?? [],
				'recordings' => $this->recordings(),
			]),
		]];
	}

	/** @return array<int|string, string> names of FreePBX's system recordings by id */
	private function recordings(): array
	{
		if (!function_exists('recordings_list')) {
			return [];
		}
		$names = [];
		foreach ((array) recordings_list(false) as $recording) {
			$names[(string) $recording['id']] = (string) $recording['displayname'];
		}
		return $names;
	}

	// -- the page of the module

	public function getActionBar($request)
	{
		if (($request['display'] ?? '') !== 'callbackqueue') {
			return [];
		}
		return [
			'reset' => ['name' => 'reset', 'id' => 'reset', 'value' => _('Reset')],
			'submit' => ['name' => 'submit', 'id' => 'submit', 'value' => _('Submit')],
		];
	}

	private function savePage(): void
	{
		$given = [];
		foreach (Callbackqueue\ModuleSettings::FIELDS as $field) {
			$given[$field] = trim((string) ($_REQUEST[$field] ?? ''));
		}
		// The stored token is not shown; an empty field keeps it.
		if ($given['token'] === '') {
			$given['token'] = $this->moduleSettings()->token;
		}
		try {
			$settings = Callbackqueue\ModuleSettings::fromForm($given);
		} catch (Unusable $unusable) {
			$this->refuse($given, $unusable, 'the module');
			return;
		}
		$former = $this->moduleSettings();
		if ($former->directory !== $settings->directory) {
			(new ServiceFile($former->directory))->remove();
		}
		$this->setConfig(self::MODULE, $settings->toArray());
		$this->accepted();
	}

	public function showPage()
	{
		$settings = $this->moduleSettings();
		return $this->view('page', [
			'settings' => $this->refused['given'] ?? $settings->toArray(),
			'problems' => $this->refused['problems'] ?? [],
			'hasToken' => $settings->token !== '',
			'queues' => $this->queues(),
			'withCallbacks' => $this->queuesWithCallbacks(),
			'state' => (new Console($settings->console, $settings->token))->state(),
		]);
	}

	private function view(string $name, array $variables): string
	{
		return load_view(__DIR__ . "/views/$name.php", $variables);
	}

	// -- Apply Config

	/** After queues (100) and core (480), which write what this one changes. */
	public static function myDialplanHooks()
	{
		return 500;
	}

	public function doDialplanHook(&$ext, $engine, $priority)
	{
		if ($engine !== 'asterisk') {
			return;
		}
		$settings = $this->moduleSettings();
		$dialplan = new Dialplan($ext, $this->asteriskVersion());
		$conf = __DIR__ . '/dialplan/callback-queue.conf';
		if (!is_readable($conf)) {
			$this->tell('DIALPLAN', _('Queue Callback has no dialplan'), [
				sprintf(_('%s is missing: install the module from the file that "make freepbx" builds'), $conf),
			]);
			return;
		}
		$dialplan->addContexts((string) file_get_contents($conf));
		$ext->addGlobal('CALLBACK_AGI', "agi://$settings->service");
		$ext->addGlobal('CALLBACK_WHEN_DOWN', $settings->whenDown);
		$missing = [];
		foreach ($this->queuesWithCallbacks() as $queue => $of) {
			$stored = queues_get($queue);
			$missing = array_merge($missing, $dialplan->addQueue(
				(string) $queue,
				$of,
				(string) ($stored['context'] ?? ''),
				(string) ($stored['callconfirm'] ?? '') === '1'
			));
			$this->addQueueLines((string) $queue, $of, $dialplan);
		}
		$this->tell('DIALPLAN', _('Queue Callback: callers who go back to the queue lose their options'), $missing);
		$this->tell('BYHAND', _('Queue Callback was also installed by hand'), $this->byHand());
	}

	/** Adds lines to the queue in queues_additional.conf, behind FreePBX's own. */
	private function addQueueLines(string $queue, QueueSettings $of, Dialplan $dialplan): void
	{
		$conf = \queues_conf::create();
		$lines = ['context' => $dialplan->contextOf($queue), 'setqueuevar' => 'yes'];
		$sound = $of->offer === QueueSettings::DEFAULT_OFFER
			? 'callback-queue/offer'
			: $this->recordingFile($of->offer);
		if ($sound !== '') {
			$lines['periodic-announce'] = $sound;
			$lines['periodic-announce-frequency'] = (string) $of->frequency;
			$lines['announce-to-first-user'] = 'yes';
		}
		foreach ($lines as $key => $value) {
			$conf->addQueuesAdditional($queue, $key, $value);
		}
	}

	private function recordingFile(string $id): string
	{
		if (!ctype_digit($id) || !function_exists('recordings_get_file')) {
			return '';
		}
		// Queue() plays one file only.
		return explode('&', (string) recordings_get_file($id))[0];
	}

	private function asteriskVersion(): string
	{
		$engine = engine_getinfo();
		return (string) ($engine['version'] ?? '');
	}

	/** @return string[] lines of an installation by hand that do the same twice */
	private function byHand(): array
	{
		$file = $this->freepbx->Config->get('ASTETCDIR') . '/extensions_custom.conf';
		$text = is_readable($file) ? (string) file_get_contents($file) : '';
		preg_match_all('/^\s*(?:#\s*(?:try)?include\s.*callback-queue\.conf.*|\[callback-(?:before|after)-queue\].*)$/m', $text, $found);
		return array_map(
			fn ($line) => sprintf(_('%s: delete %s'), $file, trim($line)),
			$found[0]
		);
	}

	/** Returns the settings of the service; writeConfig() writes them. */
	public function genConfig()
	{
		$settings = $this->moduleSettings();
		return [ServiceFile::NAME => ServiceFile::text($settings, $this->queuesWithCallbacks())];
	}

	/** Never throws: that would end Apply Config half-way. */
	public function writeConfig($conf)
	{
		$settings = $this->moduleSettings();
		$this->tell(
			'SERVICE',
			_('Queue Callback: the settings of the service were not written'),
			(new ServiceFile($settings->directory))->write($conf[ServiceFile::NAME])
		);
		$this->tell('PROMPTS', _('Queue Callback: the prompts were not installed'), $this->prompts()->install());
	}

	private function prompts(): Prompts
	{
		$sounds = $this->freepbx->Config->get('ASTVARLIBDIR') . '/sounds';
		return new Prompts(__DIR__ . '/prompts', $sounds);
	}

	/** Shows problems on FreePBX's dashboard, or removes them from there. */
	private function tell(string $id, string $title, array $problems): void
	{
		$notifications = $this->freepbx->Notifications;
		if (!$problems) {
			$notifications->delete('callbackqueue', $id);
			return;
		}
		$notifications->add_error('callbackqueue', $id, $title, self::html($problems));
	}

	/** FreePBX shows the text of a notification as HTML. */
	private static function html(array $lines): string
	{
		return implode('<br />', array_map(fn ($line) => htmlspecialchars($line, ENT_QUOTES), $lines));
	}
}
